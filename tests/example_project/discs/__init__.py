"""An example of a project of one's own: networks, a paper, data, a metric."""
