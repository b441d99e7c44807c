//! Simulator of aws_security_hub.
