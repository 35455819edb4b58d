//! Every part of the page at `/`, in a real browser in front of `examples/quickstart.yaml`: what is looked at and clicked
//! is in `web/e2e/run.mjs`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program::Program;

#[test]
fn everything_on_the_page_works_with_the_quickstart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (what, path) in
        [("the page's packages", "web/node_modules/playwright-core"), ("the built page", "web/dist/index.html")]
    {
        assert!(
            root.join(path).exists(),
            "{what} is missing: run scripts/install.sh test and scripts/page.sh --require"
        );
    }
    let mut program = Program::start(include_str!("../../examples/quickstart.yaml"));
    let output = Command::new("node")
        .arg(root.join("web/e2e/run.mjs"))
        .args([program.url(""), program.pid().to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}\n{}", String::from_utf8_lossy(&output.stderr), program.log());
    // The last step ended the program, with the page still open.
    assert!(program.await_end().success(), "{}", program.log());
}
