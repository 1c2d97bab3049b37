//! A libnvidia-ml.so.1 that plays a scenario file.
