//! Makes the folder that the page is embedded from, so that a build without npm works and a page that is built later is
//! noticed. Must not run npm: a build that needs the network is nobody's wish.

fn main() {
    // In a read-only source tree the folder is there or the page is missing; both are fine.
    let _ = std::fs::create_dir_all("web/dist");
    println!("cargo:rerun-if-changed=web/dist");
}
