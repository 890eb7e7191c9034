//! HTTP/1.1 as far as two programs need it that know what the other sends: keep-alive, lengths and chunks.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection with what was read and not yet used.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    used: usize,
}

/// The head of a message.
#[derive(Debug)]
pub struct Head {
    /// Its first line.
    pub first: String,
    /// The length of its body; `None`: it comes in chunks.
    pub length: Option<usize>,
}

impl Wire {
    /// Over a connection, which sends at once what it is given.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), used: 0 })
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits until the other end closes or sends something unexpected.
    pub async fn closed(&mut self) {
        // Whatever comes, this connection has nothing more to say.
        let _ = self.stream.read_u8().await;
    }

    /// The head of the next message; `None`: the other end closed.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut from = self.used;
        let end = loop {
            if let Some(at) = find(&self.buffer[from..], b"\r\n\r\n") {
                break from + at;
            }
            from = self.buffer.len().saturating_sub(3).max(self.used);
            let before = self.used;
            if !self.more().await? {
                return Ok(None);
            }
            from -= before - self.used;
        };
        let text = std::str::from_utf8(&self.buffer[self.used..end]).map_err(broken)?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let mut length = Some(0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse().map_err(broken)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = None;
            }
        }
        self.used = end + 4;
        Ok(Some(Head { first, length }))
    }

    /// Adds the next piece of a body to `body`; false: the body has ended. A body with a length is one piece.
    pub async fn piece(&mut self, head: &mut Head, body: &mut Vec<u8>) -> io::Result<bool> {
        let length = match head.length {
            Some(0) => return Ok(false),
            Some(length) => length,
            None => self.chunk_length().await?,
        };
        let end = if head.length.is_none() { 2 } else { 0 };
        while self.buffer.len() < self.used + length + end {
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.extend_from_slice(&self.buffer[self.used..self.used + length]);
        self.used += length + end;
        if head.length.is_some() || length == 0 {
            head.length = Some(0);
        }
        Ok(length > 0)
    }

    /// Reads a body to its end.
    pub async fn body(&mut self, mut head: Head, body: &mut Vec<u8>) -> io::Result<()> {
        while self.piece(&mut head, body).await? {}
        Ok(())
    }

    async fn chunk_length(&mut self) -> io::Result<usize> {
        loop {
            if let Some(at) = find(&self.buffer[self.used..], b"\r\n") {
                let text = std::str::from_utf8(&self.buffer[self.used..self.used + at]).map_err(broken)?;
                let length = usize::from_str_radix(text, 16).map_err(broken)?;
                self.used += at + 2;
                return Ok(length);
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads on; false: nothing more comes.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

/// Where `wanted` begins in `text`.
pub fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn messages_are_read_however_they_are_cut() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut here = Wire::new(listener.accept().await.unwrap().0).unwrap();
        let sent = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 201 Made\r\ntransfer-encoding: chunked\r\n\r\n\
            2\r\nde\r\na\r\n0123456789\r\n0\r\n\r\nHTTP/1.1 204 None\r\n\r\n";
        let writing = tokio::spawn(async move {
            there.set_nodelay(true).unwrap();
            for byte in sent {
                there.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        for (first, body) in
            [("HTTP/1.1 200 OK", "abc"), ("HTTP/1.1 201 Made", "de0123456789"), ("HTTP/1.1 204 None", "")]
        {
            let head = here.head().await.unwrap().unwrap();
            assert_eq!(head.first, first);
            let mut read = Vec::new();
            here.body(head, &mut read).await.unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), body);
        }
        writing.await.unwrap();
        assert!(here.head().await.unwrap().is_none(), "the other end closed");
    }
}
