//! How the programs of the data path are linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for program in ["director", "agent", "bench"] {
        // Otherwise LLVM leaves every small memory of zeroes and every copy to a loop over single bytes. Not for programs that keep
        // bytes on the stack: there the verifier wants words to be aligned, which a packet's need not be.
        println!("cargo::rustc-link-arg-bin={program}=--disable-expand-memcpy-in-order");
    }
}
