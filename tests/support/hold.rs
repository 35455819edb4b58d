//! A relay in front of a server that can keep what clients send from arriving, while they still hear the server; and that lets
//! it arrive later, even when the client is gone. So a request can be on the way for as long as a test wants.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Default)]
struct State {
    holds: bool,
    /// Connections on which something is held.
    held: usize,
}

/// See the module.
pub struct Hold {
    /// The server's address by way of the relay.
    pub url: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Hold {
    /// Listens in front of a server at an address such as `https://127.0.0.1:6443`.
    pub fn before(server: &str) -> Self {
        let (scheme, address) = server.split_once("://").unwrap();
        let address = address.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let of_connections = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&address) {
                    relay(&client, &server, &of_connections);
                }
            }
        });
        Self { url, state }
    }

    /// What clients send from now on waits.
    pub fn stop(&self) {
        self.state.0.lock().unwrap().holds = true;
    }

    /// It arrives now.
    pub fn release(&self) {
        self.state.0.lock().unwrap().holds = false;
        self.state.1.notify_all();
    }

    /// On how many connections something waits.
    pub fn connections_held(&self) -> usize {
        self.state.0.lock().unwrap().held
    }
}

fn relay(client: &TcpStream, server: &TcpStream, state: &Arc<(Mutex<State>, Condvar)>) {
    let (mut from, mut to, state) = (client.try_clone().unwrap(), server.try_clone().unwrap(), state.clone());
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut is_held = false;
        let mut waiting = Vec::new();
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            waiting.extend_from_slice(&buffer[..bytes]);
            let mut now = state.0.lock().unwrap();
            if now.holds {
                // Read on, so that all that the client has to say is here when it goes.
                now.held += usize::from(!std::mem::replace(&mut is_held, true));
                continue;
            }
            drop(now);
            if to.write_all(&std::mem::take(&mut waiting)).is_err() {
                return;
            }
        }
        let released = state.1.wait_while(state.0.lock().unwrap(), |state| state.holds).unwrap();
        drop(released);
        let _ = to.write_all(&waiting);
        // A server may give up what it does for a client that has gone, so this end stays open.
        if !is_held {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
