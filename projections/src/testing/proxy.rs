//! A road to a database server that breaks where a test says.

use super::servers::Server;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where a connection breaks: that of the next COMMIT, or of the next long answer.
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
    /// Nothing more is carried after the first part of an answer that fills the connection's buffers.
    InALongAnswer,
}

/// An answer longer than this has more to come than buffers take, where a test uses [`Cut::InALongAnswer`].
const LONG: usize = 200_000;

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

    /// The next COMMIT, or the next long answer, breaks its connection there; those after it pass.
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
    let mut length = 0;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let asked = &asked[..read?];
                if asked.is_empty() {
                    return Ok(());
                }
                length = 0;
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
                length += answered.len();
                let here = Cut::InALongAnswer as u8;
                if length > LONG && cut.compare_exchange(here, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    return std::future::pending().await;
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
