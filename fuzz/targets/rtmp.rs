//! Hostile bytes as what an RTMP server answers, from the first one behind the handshake on.

use camera_operator::agent::rtmp::client::{Client, Place, Stage};
use camera_operator::agent::rtmp::flv::Body;

/// Fed whole, and byte by byte: it must come to the same.
pub fn run(data: &[u8]) {
    let (whole, pieces) = (outcome(data, data.len().max(1)), outcome(data, 1));
    assert_eq!(whole, pieces, "it depends on how the bytes come");
}

/// How far the client came, and whether it went on to the end.
fn outcome(data: &[u8], piece: usize) -> (Stage, bool) {
    let place = Place { application: "live".into(), url: "rtmp://h/live".into(), stream: "key".into() };
    let mut client = Client::new(place, &[0; 1528]);
    client.receive(&[&[3][..], &[7; 2 * 1536]].concat()).expect("the handshake");
    let mut is_whole = true;
    for piece in data.chunks(piece) {
        is_whole = client.receive(piece).is_ok();
        if !is_whole {
            break;
        }
    }
    if is_whole {
        client.send([Body { kind: 9, milliseconds: 40, head: vec![0x17, 1, 0, 0, 0], payload: vec![0; 1000].into() }]);
        client.finish();
        assert!(client.take_output().all(|bytes| !bytes.is_empty()), "it sends nothing for something");
    }
    (client.stage(), is_whole)
}
