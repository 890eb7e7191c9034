//! A road to a database server that breaks where a test says.

use super::servers::Server;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where the next COMMIT's connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    Nowhere,
    /// The server never hears of it: nothing is committed.
    BeforeTheServer,
    /// The server has done it, the client never hears so.
    BeforeTheClient,
    /// Nothing more is carried either way, and nothing closed by it: the server never hears of the COMMIT.
    StallBeforeTheServer,
    /// As before, but the server has done it.
    StallBeforeTheClient,
}

/// Listens while it lives, in the runtime of the test that made it.
pub(crate) struct Proxy {
    socket: PathBuf,
    cut: Arc<AtomicU8>,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl Proxy {
    pub(crate) fn to(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let behind = server.socket();
        let socket = folder.path().join(behind.file_name().unwrap());
        let listener = UnixListener::bind(&socket).unwrap();
        let (cut, stop) = (Arc::new(AtomicU8::new(Cut::Nowhere as u8)), CancellationToken::new());
        let (shared_cut, token) = (cut.clone(), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let carried = carry(client, behind.clone(), shared_cut.clone());
                tokio::spawn(token.clone().run_until_cancelled_owned(carried));
            }
        }));
        Self { socket, cut, _folder: folder, _stop: stop.drop_guard() }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The next COMMIT breaks its connection there; those after it pass.
    pub(crate) fn cut_next(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// Has the cut been made?
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) == Cut::Nowhere as u8
    }
}

/// Carries one connection's bytes both ways until an end closes or a cut ends it.
async fn carry(mut client: UnixStream, behind: PathBuf, cut: Arc<AtomicU8>) -> std::io::Result<()> {
    let mut server = UnixStream::connect(behind).await?;
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let asked = &asked[..read?];
                if asked.is_empty() {
                    return Ok(());
                }
                // As PostgreSQL's text ends, and as MySQL's begins: "READ COMMITTED" is another thing.
                let commits = asked.windows(7).any(|word| word == b"COMMIT\0" || word == b"\x03COMMIT");
                let here = if commits { cut.swap(Cut::Nowhere as u8, Ordering::SeqCst) } else { Cut::Nowhere as u8 };
                if here == Cut::BeforeTheServer as u8 {
                    return Ok(());
                }
                if here == Cut::StallBeforeTheServer as u8 {
                    return stall(client).await;
                }
                server.write_all(asked).await?;
                if here == Cut::StallBeforeTheClient as u8 {
                    let _ = server.read(&mut answered).await?;
                    return stall(client).await;
                }
                if here == Cut::BeforeTheClient as u8 {
                    // Its answer has come: it is done.
                    return server.read(&mut answered).await.map(drop);
                }
            }
            read = server.read(&mut answered) => {
                let answered = &answered[..read?];
                if answered.is_empty() {
                    return Ok(());
                }
                client.write_all(answered).await?;
            }
        }
    }
}

/// Swallows what comes until the client gives up; only then the server's side is closed, with the caller's return.
async fn stall(mut client: UnixStream) -> std::io::Result<()> {
    let mut swallowed = [0; 1024];
    while client.read(&mut swallowed).await? > 0 {}
    Ok(())
}
