//! What lies between a worker and a server of the tests: it can be slow, or not there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A relay of TCP connections. It ends with the test.
pub struct Relay {
    pub address: String,
    is_slow: Arc<AtomicBool>,
}

impl Relay {
    /// At any port.
    pub fn start(upstream: &str, is_slow: bool) -> Relay {
        Relay::at("127.0.0.1:0", upstream, is_slow)
    }

    /// At a certain one.
    pub fn at(address: &str, upstream: &str, is_slow: bool) -> Relay {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (is_slow, upstream) = (Arc::new(AtomicBool::new(is_slow)), upstream.to_owned());
        let slow = Arc::clone(&is_slow);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                let (client_too, server_too, slow) = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&slow));
                std::thread::spawn(move || pour(client_too, server_too, &AtomicBool::new(false)));
                std::thread::spawn(move || pour(server, client, &slow));
            }
        });
        Relay { address, is_slow }
    }

    /// From now on as fast as it goes.
    pub fn hurry(&self) {
        self.is_slow.store(false, Ordering::SeqCst);
    }
}

/// host:port where nobody listens.
pub fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn pour(mut from: TcpStream, mut to: TcpStream, is_slow: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if is_slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
