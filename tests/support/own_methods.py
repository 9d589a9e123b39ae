"""Methods of a user's own, as a configuration names them: "own_methods:TwoViews"."""

from physioclr import nn
from physioclr.train import Method


class TwoViews(Method):
    """SimCLR once more, over all processes."""

    def views(self, batch, draw):
        return draw(0, 1)

    def loss(self, out, batch):
        return nn.nt_xent(*out.embeddings, batch.group, tau=self.config.tau, process_group=self.process_group)
