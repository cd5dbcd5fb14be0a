"""The attack lab: attacks on what somebody really sees, each with a control that succeeds and a baseline."""
