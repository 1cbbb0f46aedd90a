//! A connection that does not wait for ever for its client to take what is written.

use std::future::Future as _;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time in which a client that holds up a write must accept [`MIN_ACCEPTED`] bytes.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Minimum bytes accepted in that time: below any real reader, above a slow-read attack.
const MIN_ACCEPTED: usize = 16 * 1024;

/// Fails a write that waits while the client takes less than 16 KiB in 30 s. The time begins when
/// the system's buffers are full, and ends when everything is written.
///
/// It holds a guard for as long as the connection is open, whoever has it then.
pub(crate) struct WriteTimeout<S, G = ()> {
    stream: S,
    _guard: G,
    /// Since the client holds up a write; not there for the many who do not.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes that the client has taken since.
    taken: usize,
}

impl<S> WriteTimeout<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self::holding(stream, ())
    }
}

impl<S, G> WriteTimeout<S, G> {
    /// Drops `guard` with the connection.
    pub(crate) fn holding(stream: S, guard: G) -> Self {
        Self {
            stream,
            _guard: guard,
            waiting: None,
            taken: 0,
        }
    }

    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(n)) => {
                self.taken += n;
                if self.taken >= MIN_ACCEPTED {
                    self.waiting = None;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if self.waiting.is_none() {
                    self.taken = 0;
                }
                let waiting = self
                    .waiting
                    .get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
                if waiting.as_mut().poll(context).is_ready() {
                    let late = "the client does not take the answer";
                    return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, late)));
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin, G: Unpin> AsyncRead for WriteTimeout<S, G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, G: Unpin> AsyncWrite for WriteTimeout<S, G> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.waiting = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    /// Writes 256 KiB to a client that takes `bytes` every `pause`; says when the write ended, and
    /// whether all was written.
    async fn write_to_one_who_takes(bytes: usize, pause: Duration) -> (Duration, io::Result<()>) {
        let (ours, mut theirs) = duplex(8 * 1024);
        let client = tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            loop {
                tokio::time::sleep(pause).await;
                if theirs.read_exact(&mut buffer).await.is_err() {
                    break;
                }
            }
        });
        let mut stream = WriteTimeout::new(ours);
        let started = Instant::now();
        let written = stream.write_all(&[0; 256 * 1024]).await;
        let ended = started.elapsed();
        client.abort();
        (ended, written)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_or_next_to_nothing_is_cut_off() {
        let hour = Duration::from_secs(3_600);
        for (bytes, pause) in [
            (1, hour),
            (1, Duration::from_secs(1)),
            (1_024, Duration::from_secs(10)),
        ] {
            let (time, written) = write_to_one_who_takes(bytes, pause).await;
            assert_eq!(
                written.map_err(|e| e.kind()),
                Err(ErrorKind::TimedOut),
                "{bytes} in {pause:?}"
            );
            assert!(time <= WRITE_TIMEOUT + Duration::from_secs(1), "{time:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_but_reads_is_served() {
        let (time, written) = write_to_one_who_takes(4 * 1_024, Duration::from_secs(5)).await;
        assert!(
            written.is_ok() && time > 5 * WRITE_TIMEOUT,
            "{time:?} {written:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_between_two_answers_is_nobodys_fault() {
        let (ours, mut theirs) = duplex(1_024);
        let mut stream = WriteTimeout::new(ours);
        let mut buffer = [0; 2_048];
        for _ in 0..3 {
            let read = async {
                tokio::time::sleep(WRITE_TIMEOUT / 2).await;
                theirs.read_exact(&mut buffer).await
            };
            let (written, read) = tokio::join!(
                async {
                    stream.write_all(&[0; 2_048]).await?;
                    stream.flush().await
                },
                read
            );
            written.expect("written");
            read.expect("read");
            tokio::time::sleep(2 * WRITE_TIMEOUT).await;
        }
    }
}
