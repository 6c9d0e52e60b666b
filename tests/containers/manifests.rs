//! The files for orchestrators say what their schemas allow.

use super::support;

#[test]
fn the_kubernetes_manifests_are_as_the_published_schema_says() {
    let Some(python) = support::python() else {
        return support::skip("there is no Python environment with kubernetes-validate");
    };
    let program = python.with_file_name("kubernetes-validate");
    let file = format!(
        "{}/docs/containers/kubernetes.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let validate = |file: &str| {
        let output = std::process::Command::new(&program)
            .args(["--strict", file])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (is_valid, said) = validate(&file);
    assert!(is_valid, "{said}");
    // It would see a slip.
    let stage = support::Stage::new();
    let text = std::fs::read_to_string(file).unwrap();
    let slip = stage.file("slip.yaml", &text.replace("runAsNonRoot", "runAsNotRoot"));
    assert!(!validate(&slip).0);
}
