//! Compression of what browsers load.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// Bytes from which on compression pays.
const MIN_BYTES: usize = 512;
/// Window of Brotli, as a power of two, in bytes.
const WINDOW: u32 = 20;

/// Content coding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Encoding {
    #[default]
    Identity,
    Gzip,
    Brotli,
}

/// Time that compression may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// For an answer that somebody waits for.
    Fast,
    /// For what is compressed once.
    Best,
}

impl Encoding {
    /// Returns the best one that a client takes.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let codings = accepted.flat_map(|list| list.split(','));
        codings.filter_map(read).max().unwrap_or(Self::Identity)
    }

    /// Returns the name in `Content-Encoding`; none if there is nothing to decode.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }

    /// Compresses bytes; returns none where that does not make them fewer.
    pub(super) fn compress(self, plain: &[u8], effort: Effort) -> Option<Bytes> {
        if plain.len() < MIN_BYTES {
            return None;
        }
        let compressed = match self {
            Self::Identity => return None,
            Self::Gzip => gzip(plain, effort),
            Self::Brotli => brotli(plain, effort),
        };
        // Writing into memory does not fail.
        compressed
            .ok()
            .filter(|compressed| compressed.len() < plain.len())
            .map(Bytes::from)
    }
}

/// Reads one entry of `Accept-Encoding`, unless the client refuses that coding.
fn read(entry: &str) -> Option<Encoding> {
    let (name, rest) = entry.split_once(';').unwrap_or((entry, ""));
    let quality = rest.trim().strip_prefix("q=").map(str::parse::<f32>);
    if quality.is_some_and(|quality| quality.is_ok_and(|quality| quality <= 0.0)) {
        return None;
    }
    match name.trim().to_ascii_lowercase().as_str() {
        "br" => Some(Encoding::Brotli),
        "gzip" => Some(Encoding::Gzip),
        _ => None,
    }
}

fn gzip(plain: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    let level = match effort {
        Effort::Fast => Compression::fast(),
        Effort::Best => Compression::best(),
    };
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(plain)?;
    encoder.finish()
}

fn brotli(mut plain: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: match effort {
            Effort::Fast => 5,
            Effort::Best => 11,
        },
        lgwin: i32::try_from(WINDOW).unwrap_or_default(),
        size_hint: plain.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut plain, &mut compressed, &parameters)?;
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_best_coding_that_a_client_takes_is_used() {
        for (accepted, encoding) in [
            ("", Encoding::Identity),
            ("gzip, deflate, br, zstd", Encoding::Brotli),
            ("gzip;q=1.0, *;q=0.5", Encoding::Gzip),
            ("br;q=0, gzip", Encoding::Gzip),
            ("identity", Encoding::Identity),
            ("BR", Encoding::Brotli),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(Encoding::of(&headers), encoding, "{accepted}");
        }
    }

    #[test]
    fn what_is_compressed_is_the_same_once_it_is_decoded() {
        let plain = "the same words again and again; ".repeat(100).into_bytes();
        for effort in [Effort::Fast, Effort::Best] {
            let gzip = Encoding::Gzip
                .compress(&plain, effort)
                .expect("fewer bytes");
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(&*gzip)
                .read_to_end(&mut decoded)
                .expect("gzip");
            assert_eq!(decoded, plain);

            let brotli = Encoding::Brotli
                .compress(&plain, effort)
                .expect("fewer bytes");
            let mut decoded = Vec::new();
            brotli::BrotliDecompress(&mut &*brotli, &mut decoded).expect("Brotli");
            assert_eq!(decoded, plain);
            assert!(brotli.len() < 100);
        }
        assert_eq!(Encoding::Gzip.compress(b"short", Effort::Best), None);
        assert_eq!(Encoding::Identity.compress(&plain, Effort::Best), None);
    }
}
