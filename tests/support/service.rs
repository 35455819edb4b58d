//! An address that stands for whichever of several agents there is, as a Service does: every new connection goes to the first
//! one that takes it; connections that stand stay where they are.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module.
pub struct Service {
    /// Where it listens.
    pub port: u16,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl Service {
    /// In front of an agent at this port.
    pub fn new(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self { port: listener.local_addr().unwrap().port(), ports: Arc::new(Mutex::new(vec![port])) };
        let ports = service.ports.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let ports = ports.lock().unwrap().clone();
                // With nobody there the connection is closed, which a client takes for a refusal.
                if let Some(agent) = ports.into_iter().find_map(|port| TcpStream::connect(("127.0.0.1", port)).ok()) {
                    forward(&client, &agent);
                }
            }
        });
        service
    }

    /// New connections go to these, in this order.
    pub fn point_to(&self, ports: &[u16]) {
        *self.ports.lock().unwrap() = ports.to_vec();
    }
}

fn forward(client: &TcpStream, agent: &TcpStream) {
    for (from, to) in [(client, agent), (agent, client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(bytes @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..bytes]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}
