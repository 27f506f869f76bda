"""Progress: what is shown and said while a model trains."""

from tqdm import tqdm

from mini_models.machine import processes


class Progress:
    """A bar with the loss, the speed and the time left, shown by process 0."""

    def __init__(self, steps: int, items_a_step: int, item: str):
        self.steps, self.items, self.item, self.bar = steps, items_a_step, item, None

    def show(self, step: int, loss) -> None:
        if processes.process_index() > 0:
            return
        if self.bar is None:  # the first step is slow, and one before a resume took no time
            self.first = step
            self.bar = tqdm(total=self.steps, initial=step, unit="step", dynamic_ncols=True)
            return
        self.bar.update()
        if step % 10 == 0 or step == self.steps:
            speed = (step - self.first) * self.items / self.bar.format_dict["elapsed"]
            self.bar.set_postfix_str(f"loss {float(loss):.3f}, {speed:,.0f} {self.item}/s")

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.write(text)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Watch:
    """Says what the recipe finds wrong while its model trains, each thing once."""

    def __init__(self, task, bar: Progress):
        self.task, self.bar, self.said = task, bar, []

    def __call__(self, step: int) -> None:
        found = self.task.watch and self.task.watch(self.task.model, step)
        if found and found not in self.said:
            self.said.append(found)
            self.bar.say(f"step {step}: {found}")
