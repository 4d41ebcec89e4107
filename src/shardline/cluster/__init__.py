"""The one door to Ray: sessions, what fits on the cluster, and jobs sent to it."""
