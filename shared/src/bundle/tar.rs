//! As much of tar (POSIX ustar) as a bundle needs: plain files with short names, one after the other.

/// Headers and the padding after each file.
pub const BLOCK: usize = 512;

/// What a header announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A file of this name and so many bytes.
    File(String, u64),
    /// Something of so many bytes that a bundle has no use for: a folder, an attribute.
    Other(u64),
    /// The end.
    End,
}

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// The checksum is wrong.
    #[error("a header's checksum is wrong")]
    Checksum,
    /// The size is no octal number.
    #[error("a member's size is malformed")]
    Size,
    /// The name is no text.
    #[error("a member's name is malformed")]
    Name,
}

/// Reads a header.
///
/// # Errors
/// [`TarError`] says what is wrong with it.
pub fn read(header: &[u8; BLOCK]) -> Result<Member, TarError> {
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Member::End);
    }
    if octal(&header[148..156]) != Some(checksum(header)) {
        return Err(TarError::Checksum);
    }
    let size = octal(&header[124..136]).ok_or(TarError::Size)?;
    if !matches!(header[156], 0 | b'0') {
        return Ok(Member::Other(size));
    }
    let (name, prefix) = (text(&header[..100])?, text(&header[345..500])?);
    let whole = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    Ok(Member::File(whole.strip_prefix("./").unwrap_or(&whole).to_owned(), size))
}

/// The header of a file; none if the name is over 100 bytes or the size over 8 GiB.
pub fn header(name: &str, size: u64) -> Option<[u8; BLOCK]> {
    if name.len() > 100 || size >= 1 << 33 {
        return None;
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum = checksum(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(header)
}

/// The bytes after a file of this size up to the next header.
pub fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// The sum of all bytes, those of the checksum itself as spaces.
fn checksum(header: &[u8; BLOCK]) -> u64 {
    let outside = header[..148].iter().chain(&header[156..]);
    outside.map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(field).ok()?.trim_matches(|char| char == '\0' || char == ' ');
    if text.is_empty() || text.len() > 11 {
        return None;
    }
    u64::from_str_radix(text, 8).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn text(field: &[u8]) -> Result<&str, TarError> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..end]).map_err(|_| TarError::Name)
}
