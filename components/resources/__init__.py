"""The Pulumi resources and Pulumi's configuration. They declare manifests; they do not build or check them."""
