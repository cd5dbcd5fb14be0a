"""What one round costs: real parties and messages, vectors instead of training (`federated.bench.measure`)."""
