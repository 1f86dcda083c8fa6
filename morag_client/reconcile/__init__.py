"""What MoRAG says of tasks against what arrived, and the events that fill the gaps."""
