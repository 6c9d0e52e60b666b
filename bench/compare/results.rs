//! Every figure of a run, and what is made of them: a table, raw numbers, charts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::chart;
use crate::contenders::{Contender, Kind};

/// The figures of one measure.
#[derive(Default)]
pub struct Measure {
    pub name: String,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub contender: String,
    pub kind: Kind,
    floor_alike: Option<&'static str>,
    pub figures: Vec<f64>,
    pub failures: usize,
}

impl Row {
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.figures.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    fn range(&self) -> Option<(f64, f64)> {
        let least = self.figures.iter().copied().min_by(f64::total_cmp)?;
        let most = self.figures.iter().copied().max_by(f64::total_cmp)?;
        Some((least, most))
    }
}

#[derive(Default)]
pub struct Results {
    measures: Vec<Measure>,
    versions: BTreeMap<String, String>,
}

impl Results {
    pub fn time(&mut self, measure: &str, contender: &Contender, took: Duration) {
        self.note(measure, contender, took.as_secs_f64() * 1e3);
    }

    pub fn note(&mut self, measure: &str, contender: &Contender, figure: f64) {
        self.row(measure, contender).figures.push(figure);
    }

    /// Rows to come, in this order: ratios are to the first one's.
    pub fn begin(&mut self, measure: &str, contenders: &[&Contender]) {
        for one in contenders {
            self.row(measure, one);
        }
    }

    /// It did not do it in time.
    pub fn failed(&mut self, measure: &str, contender: &Contender) {
        self.row(measure, contender).failures += 1;
    }

    fn row(&mut self, measure: &str, contender: &Contender) -> &mut Row {
        if !contender.version.is_empty() {
            self.versions
                .insert(contender.name.to_owned(), contender.version.clone());
        }
        let at = self
            .measures
            .iter()
            .position(|known| known.name == measure)
            .unwrap_or_else(|| {
                self.measures.push(Measure {
                    name: measure.to_owned(),
                    rows: Vec::new(),
                });
                self.measures.len() - 1
            });
        let rows = &mut self.measures[at].rows;
        let at = rows
            .iter()
            .position(|row| row.contender == contender.name)
            .unwrap_or_else(|| {
                rows.push(Row {
                    contender: contender.name.to_owned(),
                    kind: contender.kind,
                    floor_alike: contender.floor_alike,
                    figures: Vec::new(),
                    failures: 0,
                });
                rows.len() - 1
            });
        &mut rows[at]
    }

    /// Prints the table, and writes it with the raw figures and the charts into `bench/results`.
    pub fn finish(&self) {
        let table: String = self.measures.iter().map(table).collect();
        println!("{table}");
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name}: {version}"))
            .collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results");
        std::fs::create_dir_all(&folder).unwrap();
        let raw: Vec<serde_json::Value> = self
            .measures
            .iter()
            .flat_map(|measure| {
                measure.rows.iter().map(|row| {
                    json!({"measure": measure.name, "contender": row.contender, "median": row.median(),
                        "figures": row.figures, "failures": row.failures})
                })
            })
            .collect();
        let raw = json!({"versions": self.versions, "figures": raw});
        std::fs::write(folder.join("compare.json"), format!("{raw:#}\n")).unwrap();
        std::fs::write(
            folder.join("compare.md"),
            format!("{table}\n{}\n", versions.join("; ")),
        )
        .unwrap();
        std::fs::write(folder.join("compare.svg"), chart::draw(&self.measures)).unwrap();
        println!("written: bench/results/compare.md, compare.json, compare.svg");
    }
}

/// One measure; ratios are to its first floor, and to the one whose services write to the same.
fn table(measure: &Measure) -> String {
    let floor = measure.rows.iter().find(|row| row.kind == Kind::Floor);
    let alike = |row: &Row| {
        let mut rows = measure.rows.iter();
        rows.find(|other| row.floor_alike == Some(&other.contender))
    };
    let ratio = |row: &Row, to: Option<&Row>| {
        let to = to.and_then(Row::median).filter(|floor| *floor > 0.0);
        let ratio = row.median().zip(to).map(|(own, floor)| own / floor);
        ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default()
    };
    let mut text = format!(
        "| {} | median | least .. most | ratio to floor | to the floor with the same output |\n\
         |---|---:|---:|---:|---:|\n",
        measure.name
    );
    for row in &measure.rows {
        let Some((median, (least, most))) = row.median().zip(row.range()) else {
            text += &format!("| {} | not in time | | | |\n", row.contender);
            continue;
        };
        let failures = match row.failures {
            0 => String::new(),
            count => format!(", {count} times not in time"),
        };
        text += &format!(
            "| {} | {} | {} .. {}{failures} | {} | {} |\n",
            row.contender,
            figure(median),
            figure(least),
            figure(most),
            ratio(row, floor),
            ratio(row, alike(row))
        );
    }
    text + "\n"
}

/// As many digits as mean something.
pub fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
