"""The batches of a run of ours, trained on by Lightning and by Accelerate; also the program of their processes."""

import ast
import os
import sys

import torch

LR = 0.2


def plain(parameters, lr, *_, **__):
    """Gradient descent in the place of Adam, which divides any wrong factor of the gradient out again."""
    return torch.optim.SGD(parameters, LR)


def share(batch, rank, world):
    """This process's rows of a batch; rows 2 k and 2 k + 1 are neighbours and stay together."""
    n = len(batch["pair"]) // world
    mine = {k: v[rank * n : (rank + 1) * n] for k, v in batch.items()}
    return {**mine, "pair": mine["pair"] - rank * n}


def hybrid(model, batch, process_group=None):
    """The terms of the loss, as a loop of one's own has them."""
    return model(
        batch["view0"], batch["features"], batch["group"], shuffled=batch["view1"], pair=batch["pair"],
        target=batch["target"], valid=batch.get("valid"), rpeaks=batch["rpeaks"], process_group=process_group,
    )  # fmt: skip


def in_lightning(model, batches, *, accumulate=1, precision="32-true", devices=1, folder="."):
    """Losses of every batch; `model` is trained in place."""
    import lightning.pytorch as lightning

    losses = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch, _):
            world = self.trainer.world_size
            group = torch.distributed.group.WORLD if world > 1 else None
            terms = hybrid(self.model, share(batch, self.global_rank, world), group)
            losses.append(float(terms.total))
            return terms.total * world  # DistributedDataParallel takes the mean

        def configure_optimizers(self):
            return plain(self.parameters(), LR)

    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
        precision=precision, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(batches, batch_size=None))
    return losses


def in_accelerate(model, batches, *, accumulate=1, precision="no", chunk=0):
    """The same by Accelerate; chunk: by `chunked_backward`, so many rows at a time."""
    import accelerate

    import physioclr as pc

    accelerate.state.AcceleratorState._reset_state(True)  # of the call before, whose precision it would keep
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=accumulate)
    world = accelerator.num_processes
    group = torch.distributed.group.WORLD if world > 1 else None
    model, optimizer = accelerator.prepare(model, plain(model.parameters(), LR))
    losses = []
    for batch in batches:
        batch = share(batch, accelerator.process_index, world)
        with accelerator.accumulate(model):
            if chunk:
                n = len(batch["pair"])

                def contrast(h, batch=batch, n=n):
                    views = torch.stack([h[n:], h[:n][batch["pair"]]])
                    terms = pc.nn.HybridLoss(alpha=0.0, beta=0.0)(
                        h[:n], views, batch["features"], batch["group"], process_group=group
                    )
                    return terms.total * world / accumulate

                rows = torch.cat([batch["view0"], batch["view1"]])
                value = pc.nn.chunked_backward(model, contrast, rows, chunk_size=chunk)
                losses.append(float(value) * accumulate / world)
            else:
                terms = hybrid(model, batch, group)
                losses.append(float(terms.total))
                accelerator.backward(terms.total * world)  # DistributedDataParallel takes the mean
            optimizer.step()
            optimizer.zero_grad()
    return losses


class Encoder(torch.nn.Module):
    """An encoder of one's own: (N, 12, T) to (N, 8)."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv1d(12, 8, 15, 16, 7), torch.nn.GELU(), torch.nn.Linear(157, 8))

    def forward(self, x):
        return self.layers(x).mean(1)


if __name__ == "__main__":  # one of two processes: FOLDER FRAMEWORK KEYWORDS
    torch.set_num_threads(1)
    folder, framework, keywords = sys.argv[1:]
    made = torch.load(f"{folder}/made.pt", weights_only=False)
    keywords = ast.literal_eval(keywords)
    if framework == "in_lightning":
        keywords |= {"devices": 2, "folder": folder}
    losses = globals()[framework](made["model"], made["batches"], **keywords)
    if os.environ["RANK"] == "0":
        torch.save((losses, made["model"].state_dict()), f"{folder}/{framework}.pt")
