"""Parts of the synthetic blood smear: styles, fields, red cells, white cells. `core.imaging.synthetic` is the door."""
