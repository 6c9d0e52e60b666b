//! What is refused, and what to write instead: one snapshot for all of it.

use super::super::Expression;

/// Each way to get an expression wrong.
const REFUSED: [&str; 70] = [
    "",
    "   ",
    "* * * *",
    "3",
    "0 0 3 * * * 2026",
    "0 3 * * * /usr/bin/backup --all",
    "0 3 * * * root",
    "* 24 * * *",
    "60 * * * *",
    "60 * * * * *",
    "* 99 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * * 8",
    "-1 * * * *",
    "99999999999 * * * *",
    "a * * * *",
    "é * * * *",
    "5- * * * *",
    "-5- * * * *",
    "0 0 MON * *",
    "0 0 * * MONDAY",
    "0 0 * * JAN",
    "0 0 * MON *",
    "* * * FOO *",
    "* * * sept *",
    "0 0 * * FOO",
    "1,,2 * * * *",
    ",1 * * * *",
    "1, 2 * * * *",
    "1, * * * *",
    "0 22-2 * * *",
    "50-10 * * * *",
    "0 0 * NOV-FEB *",
    "0 0 * * FRI-MON",
    "0 0 * * 5-1",
    "0 0 * * 7-2",
    "0 0 * * 1-0",
    "*/0 * * * *",
    "*/61 * * * *",
    "0 */25 * * *",
    "0 0 * * */8",
    "*/a * * * *",
    "5/ * * * *",
    "? * * * *",
    "0 0 ?/2 * *",
    "0 0 1,? * *",
    "0 0 ? * ?",
    "0 0 L-3 * *",
    "0 0 WL * *",
    "0 0 W * *",
    "0 0 1-5W * *",
    "0 0 32W * *",
    "0 0 * * L",
    "0 0 * * 3W",
    "0 0 * * MON#6",
    "0 0 * * MON#",
    "0 0 * * #2",
    "H H * * *",
    "0 0 30 2 *",
    "0 0 30,31 2 *",
    "0 0 31 4,6 *",
    "0 0 31W 4 *",
    "0 0 29W 2 */7",
    "@reboot",
    "@hurly",
    "@daily 5",
    "@every 500ms",
    "TZ=UTC 0 3 * * *",
];

fn told(text: &str) -> String {
    let Err(error) = Expression::parse(text) else {
        panic!("{text} was taken");
    };
    let before = text[..error.span.start].chars().count();
    let under = text
        .get(error.span.clone())
        .map_or(1, |text| text.chars().count());
    format!(
        "`{text}`\n {}{} {}\n  = {}\n",
        " ".repeat(before),
        "^".repeat(under.max(1)),
        error.message,
        error.help
    )
}

#[test]
fn each_is_refused_with_what_to_write_instead() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../../../tests/snapshots");
    let all: Vec<String> = REFUSED.iter().map(|text| told(text)).collect();
    settings.bind(|| insta::assert_snapshot!("schedule-refused", all.join("\n")));
}

#[test]
fn no_text_does_more_than_be_refused() {
    // Each text of a few of the characters that matter.
    let characters = ["*", "/", "-", ",", "5", "0", "?", "L", "W", "#", "é", "@"];
    for field in 0..5 {
        for a in characters {
            for b in characters {
                for c in characters {
                    let mut fields = ["*"; 5];
                    let text = format!("{a}{b}{c}");
                    fields[field] = &text;
                    let whole = fields.join(" ");
                    if let Err(error) = Expression::parse(&whole) {
                        assert!(
                            whole.get(error.span.clone()).is_some(),
                            "{whole}: {error:?}"
                        );
                        assert!(!error.message.is_empty() && !error.help.is_empty());
                    }
                }
            }
        }
    }
}
