//! Connections that take bytes only while the fence is open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower::Service;

use crate::lead::fence::Fence;

/// What makes connections, or a connection.
#[derive(Clone)]
pub(super) struct Fenced<T> {
    inner: T,
    fence: Arc<Fence>,
}

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
#[error("this operator does not lead")]
pub(super) struct NotLeading;

impl<T> Fenced<T> {
    pub(super) fn new(inner: T, fence: Arc<Fence>) -> Self {
        Self { inner, fence }
    }

    fn check(&self) -> io::Result<()> {
        if self.fence.allows(Instant::now()) {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, NotLeading))
        }
    }
}

impl<T> Service<Uri> for Fenced<T>
where
    T: Service<Uri>,
    T::Future: Send + 'static,
    T::Response: Send + 'static,
    T::Error: Send + 'static,
{
    type Response = Fenced<T::Response>;
    type Error = T::Error;
    type Future = BoxFuture<'static, Result<Self::Response, T::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let fence = Arc::clone(&self.fence);
        self.inner.call(uri).map(|made| made.map(|inner| Fenced { inner, fence })).boxed()
    }
}

impl<T: Connection> Connection for Fenced<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<T: Read + Unpin> Read for Fenced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Fenced<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn no_byte_goes_out_when_the_fence_is_closed() {
        let (near, mut far) = tokio::io::duplex(64);
        let fence = Fence::open();
        let mut connection = Fenced::new(TokioIo::new(near), Arc::clone(&fence));
        let mut send = async |bytes: &'static [u8]| {
            let plain = poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, bytes)).await;
            let slices = [io::IoSlice::new(bytes)];
            let vectored = poll_fn(|cx| Pin::new(&mut connection).poll_write_vectored(cx, &slices)).await;
            [plain, vectored].map(|sent| sent.map_err(|error| error.to_string()))
        };
        assert_eq!(send(b"ab").await, [Ok(2), Ok(2)]);
        fence.close();
        let refused = || Err("this operator does not lead".to_owned());
        assert_eq!(send(b"cd").await, [refused(), refused()]);
        drop(connection);
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived, b"abab");
    }
}
