//! Simulator of dependency_track.
