"""How messages get from the coordinator to the parties and back; they are bytes to every transport."""
