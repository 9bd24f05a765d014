//! Starts the app in the page that the server sent: takes the static shell away and mounts the real one.

fn main() {
    laurel_app::start();
}
