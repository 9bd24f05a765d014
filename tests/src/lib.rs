//! What the flows share: starting the real server, trainer and browser.
