//! What expressions are in words.

use super::super::Expression;

#[test]
fn words_cannot_be_misread() {
    let cases = [
        (
            "0 0 13 * 5",
            "at 00:00, on day 13 of the month or on a Friday (either is enough)",
        ),
        (
            "0 0 */2 * MON",
            "at 00:00, on days 1, 3, 5, … 31 of the month, but only if that is a Monday (both have to match)",
        ),
        (
            "*/5 * * * * *",
            "every 5 seconds (at second 0, 5, … 55) (six fields: the first is the second)",
        ),
        ("*/5 * * * *", "every 5 minutes (at minute 0, 5, … 55)"),
        ("*/7 * * * *", "at minutes 0, 7, 14, … 56 of every hour"),
        ("*/60 * * * *", "at minute 0 of every hour"),
        (
            "0 0 13 * 5 *",
            "at 13:00:00, every day, in May (six fields: the first is the second)",
        ),
        ("* 3 * * *", "every minute, from 03:00 to 03:59, every day"),
        (
            "* * * * * *",
            "every second (six fields: the first is the second)",
        ),
        ("* * * * *", "every minute"),
        (
            "0 */2 * * *",
            "at minute 0 of every 2nd hour (00, 02, … 22)",
        ),
        (
            "0 */5 * * *",
            "at 00:00, 05:00, 10:00, 15:00 and 20:00, every day",
        ),
        (
            "30 */5 9-17 * * 1-5",
            "at second 30 of minutes 0, 5, 10, … 55, from 09:00 to 17:59, on a day from Monday to Friday \
             (six fields: the first is the second)",
        ),
        (
            "0 9 * * FRI-SUN",
            "at 09:00, on a day from Friday to Sunday",
        ),
        ("0 9 * * 0,7", "at 09:00, on a Sunday"),
        (
            "0 9 LW JAN-MAR,12 *",
            "at 09:00, on the last weekday (Monday to Friday) of the month, in January to March and December",
        ),
        (
            "0 9 * * 1#2,5L",
            "at 09:00, on the last Friday of the month or the second Monday of the month",
        ),
        ("@daily", "at 00:00, every day"),
        ("@hourly", "at minute 0 of every hour"),
        ("@every 90s", "every 1m 30s, whatever the clock is set to"),
        // Any day of either field: every day.
        ("0 0 1-31 * 5", "at 00:00, every day"),
    ];
    for (text, words) in cases {
        assert_eq!(Expression::parse(text).unwrap().words(), words, "{text}");
    }
}
