//! From bytes to text: TOML is UTF-8 (TOML 1.0.0, "Spec").

use super::diagnostic::Finding;

/// A file that is not UTF-8.
#[derive(Debug)]
pub(super) struct Undecoded {
    /// What could be read of it, to be shown.
    pub text: String,
    /// Where it is no UTF-8, and what to do.
    pub finding: Finding,
}

/// The text of a file.
///
/// # Errors
/// Where it is not UTF-8, with what it seems to be.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, Box<Undecoded>> {
    if let Some((name, text)) = wide(&bytes) {
        let first = text.chars().next().map_or(0, char::len_utf8);
        let what = format!("this file is {name}, not UTF-8");
        let finding = Finding::error(0..first, what, "the first character").help(format!(
            "save it as UTF-8: choose that encoding in the editor, or use iconv -f {name} -t UTF-8"
        ));
        return Err(Box::new(Undecoded { text, finding }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let what = format!("this file is not UTF-8: it holds the byte 0x{byte:02x}");
        let finding = Finding::error(at..at + 1, what, "not UTF-8");
        let help = match byte {
            0xa0.. => format!(
                "save it as UTF-8; in Latin-1 the byte is `{}`",
                char::from(byte)
            ),
            _ => "save it as UTF-8".to_owned(),
        };
        let finding = finding.help(help);
        Box::new(Undecoded { text, finding })
    })
}

/// An encoding of two or four bytes a character, by its mark or by the zeros beside ASCII.
fn wide(bytes: &[u8]) -> Option<(&'static str, String)> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let decoded = char::decode_utf16(pairs.iter().map(|pair| unit(*pair)));
        let text: String = decoded
            .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        text.trim_start_matches('\u{feff}').to_owned()
    };
    let utf32 = |unit: fn([u8; 4]) -> u32| {
        let (fours, _) = bytes.as_chunks::<4>();
        let decoded = fours.iter().map(|four| char::from_u32(unit(*four)));
        let text: String = decoded
            .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        text.trim_start_matches('\u{feff}').to_owned()
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [1..=0xff, 0, 0, 0, ..] => {
            Some(("UTF-32LE", utf32(u32::from_le_bytes)))
        }
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=0xff, ..] => {
            Some(("UTF-32BE", utf32(u32::from_be_bytes)))
        }
        [0xff, 0xfe, ..] | [1..=0xff, 0, 1..=0xff, 0, ..] => {
            Some(("UTF-16LE", utf16(bytes, u16::from_le_bytes)))
        }
        [0xfe, 0xff, ..] | [0, 1..=0xff, 0, 1..=0xff, ..] => {
            Some(("UTF-16BE", utf16(bytes, u16::from_be_bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn refused(bytes: &[u8], what: &str) {
        let undecoded = decode(bytes.to_vec()).err();
        let message = undecoded.map(|undecoded| undecoded.finding.message);
        assert!(
            message
                .as_ref()
                .is_some_and(|message| message.contains(what)),
            "{bytes:?}: {message:?}"
        );
    }

    #[test]
    fn an_encoding_is_named() {
        assert_eq!(decode(b"a = 1".to_vec()).ok().as_deref(), Some("a = 1"));
        assert_eq!(decode(Vec::new()).ok().as_deref(), Some(""));
        refused(b"# caf\xe9\n", "holds the byte 0xe9");
        refused(b"\xff\xfe[\0[\0", "UTF-16LE");
        refused(b"[\0[\0s\0", "UTF-16LE");
        refused(b"\xfe\xff\0[", "UTF-16BE");
        refused(b"\0[\0[", "UTF-16BE");
        refused(b"\xff\xfe\0\0[\0\0\0", "UTF-32LE");
        refused(b"\0\0\0[", "UTF-32BE");
        refused(b"\xff", "holds the byte 0xff");
    }
}
