//! One address for several backends: connections take turns among those that say they are ready, and one that is refused
//! goes to the next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Balancer {
    pub(crate) address: String,
    members: Arc<Mutex<Vec<Member>>>,
}

#[derive(Clone)]
struct Member {
    address: String,
    is_ready: bool,
}

impl Balancer {
    pub(crate) async fn start(addresses: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let members = addresses.into_iter().map(|address| Member { address, is_ready: true }).collect();
        let members = Arc::new(Mutex::new(members));
        tokio::spawn(watch(Arc::clone(&members)));
        let turns = Arc::clone(&members);
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((client, _)) = listener.accept().await {
                turn += 1;
                tokio::spawn(pass_on(client, ordered(&turns, turn)));
            }
        });
        Self { address, members }
    }

    /// Puts a new backend in the place of one that has gone.
    pub(crate) fn replace(&self, old: &str, new: &str) {
        for member in self.members.lock().expect("no panic").iter_mut().filter(|member| member.address == old)
        {
            *member = Member { address: new.to_owned(), is_ready: true };
        }
    }
}

/// The members that are ready, beginning with the one whose turn it is.
fn ordered(members: &Mutex<Vec<Member>>, turn: usize) -> Vec<String> {
    let members = members.lock().expect("no panic");
    let mut ready: Vec<_> =
        members.iter().filter(|member| member.is_ready).map(|member| member.address.clone()).collect();
    let first = turn % ready.len().max(1);
    ready.rotate_left(first);
    ready
}

async fn pass_on(mut client: TcpStream, addresses: Vec<String>) {
    for address in addresses {
        if let Ok(mut server) = TcpStream::connect(&address).await {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

/// Whether it says so; one that goes while it is asked does not.
async fn says_ready(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

async fn watch(members: Arc<Mutex<Vec<Member>>>) {
    loop {
        let addresses: Vec<_> =
            members.lock().expect("no panic").iter().map(|member| member.address.clone()).collect();
        for address in addresses {
            let is_ready = says_ready(&address).await.unwrap_or(false);
            let mut members = members.lock().expect("no panic");
            for member in members.iter_mut().filter(|member| member.address == address) {
                member.is_ready = is_ready;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
