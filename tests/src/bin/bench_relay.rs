//! What `make bench-relay` runs; see `system_tests::bench`.

#[tokio::main(flavor = "current_thread")]
async fn main() {
    system_tests::bench::main(std::env::args().skip(1).collect()).await;
}
