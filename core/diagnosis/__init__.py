"""From a sealed image to a sealed answer: model snapshot, predictor, heat map, result, enclave process."""
