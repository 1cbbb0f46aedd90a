//! Animated WebP, of pictures that a browser has taken.
//! <https://developers.google.com/speed/webp/docs/riff_container>

use std::time::Duration;

use super::Size;

/// Bytes of a file before its chunks: `RIFF`, the length, `WEBP`.
const HEADER: usize = 12;

/// A picture of an animation.
#[derive(Debug)]
pub struct Frame {
    /// The picture, a WebP file of its own.
    pub picture: Vec<u8>,
    /// Time for which it is shown.
    pub shown: Duration,
}

/// Puts pictures of the same size together, to be shown again and again.
///
/// # Panics
///
/// If a picture is no WebP.
#[must_use]
pub fn animate(frames: &[Frame], size: Size) -> Vec<u8> {
    const ANIMATED: u8 = 0b10;
    let mut body = b"WEBP".to_vec();
    let edges = [three(size.width - 1), three(size.height - 1)].concat();
    chunk(
        &mut body,
        b"VP8X",
        &[&[ANIMATED, 0, 0, 0], &edges[..]].concat(),
    );
    // White behind it, for ever.
    chunk(&mut body, b"ANIM", &[255, 255, 255, 255, 0, 0]);

    for Frame { picture, shown } in frames {
        let millis = u32::try_from(shown.as_millis()).expect("a short time");
        // At the corner, and in place of what was there.
        let place = [&[0; 6], &edges[..], &three(millis), &[0b10]].concat();
        chunk(&mut body, b"ANMF", &[place, image(picture)].concat());
    }

    let length = u32::try_from(body.len()).expect("less than 4 GiB");
    [b"RIFF", &length.to_le_bytes()[..], &body].concat()
}

/// Returns the chunks of a picture that hold its image.
fn image(picture: &[u8]) -> Vec<u8> {
    assert!(picture.starts_with(b"RIFF") && picture[8..HEADER] == *b"WEBP");
    let mut rest = &picture[HEADER..];
    let mut image = Vec::new();
    while rest.len() >= 8 {
        let length = rest[4..8].try_into().expect("four bytes");
        let length = usize::try_from(u32::from_le_bytes(length)).expect("a length");
        let end = (8 + length.next_multiple_of(2)).min(rest.len());
        if [b"VP8 ", b"VP8L", b"ALPH"].contains(&&rest[..4].try_into().expect("four bytes")) {
            image.extend(&rest[..end]);
        }
        rest = &rest[end..];
    }
    image
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    let length = u32::try_from(content.len()).expect("less than 4 GiB");
    file.extend(name);
    file.extend(length.to_le_bytes());
    file.extend(content);
    if content.len() % 2 == 1 {
        file.push(0);
    }
}

/// Writes a number in three bytes, the lowest first.
fn three(number: u32) -> Vec<u8> {
    number.to_le_bytes()[..3].to_vec()
}
