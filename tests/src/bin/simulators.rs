//! What the console's browser tests start; see `system_tests::simulators`.

#[tokio::main(flavor = "current_thread")]
async fn main() {
    system_tests::simulators::main().await;
}
