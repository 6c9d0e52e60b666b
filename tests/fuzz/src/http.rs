//! The answer to an HTTP check: the same whatever the portions it comes in, and read no further than its head.

use go_overlay::probe::http::{Answer, Bad, MAX_HEAD};

use super::cursor::{Cursor, portions};

/// As much as a check reads at once.
const READ: usize = 4096;

pub fn run(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let sizes = cursor.take(3);
    let answer = answer(&mut cursor);
    let whole = take(&[&answer]);
    assert_eq!(take(&portions(&answer, sizes, READ)), whole);
    // Byte by byte is slow, since the head is parsed from its beginning each time.
    let start = &answer[..answer.len().min(512)];
    assert_eq!(take(&portions(start, &[0], 1)), take(&[start]));
    if let Ok(Some(status)) = whole {
        assert!((0..=999).contains(&status) && !(100..=199).contains(&status));
    }
    // A head without an end is noticed, however it goes on.
    if whole == Ok(None) {
        let mut longer = answer;
        longer.resize(longer.len() + 2 * MAX_HEAD, b'x');
        assert!(matches!(take(&[&longer]), Err(Bad::TooLong | Bad::NotHttp)));
    }
}

/// The bytes as they are, but for 0xff: it repeats the byte behind it, so that small inputs make long heads.
fn answer(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let mut answer = Vec::new();
    while !cursor.is_at_end() && answer.len() < 4 * MAX_HEAD {
        match cursor.byte() {
            0xff => {
                let (times, byte) = (usize::from(cursor.byte()) * 128, cursor.byte());
                answer.resize(answer.len() + times, byte);
            }
            byte => answer.push(byte),
        }
    }
    answer
}

fn take(portions: &[&[u8]]) -> Result<Option<u16>, Bad> {
    let mut answer = Answer::default();
    for bytes in portions {
        let result = answer.take(bytes);
        if result != Ok(None) {
            return result;
        }
    }
    Ok(None)
}
