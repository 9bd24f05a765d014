//! Pieces of the labelling page. They take values and callbacks and call no API.
