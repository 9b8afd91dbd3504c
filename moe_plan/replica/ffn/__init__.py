"""Feed-forward networks in torch: dense, and a mixture of experts with its routers."""
