"""Run the scaling pass on a model, without a method."""

from keras_initx import Auto
from keras_initx._graph.context import WeightContext
from keras_initx._graph.inputs.noise import noise
from keras_initx._graph.trace import trace
from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.methods import Choice
from keras_initx.model_init.tasks import WeightTask

BATCH = 512


def task_of(variable, bias=None, **choice):
    """Return a task for a variable, outside of any graph."""
    context = WeightContext(0, variable.path, "Dense")
    return WeightTask(variable, context, Choice("test", Auto(), **choice), bias)


def scale(model, batch=BATCH, **choice):
    """Scale every kernel of a model to 1, and return the tasks by path, and the graph."""
    graph = trace(model, batch=batch)
    tasks = {id(v): task_of(v, **choice) for s in graph.steps for v in s.kernels}
    ScalingPass(graph, list(tasks.values())).run(noise(graph, batch, seed=1))
    return {task.path: task for task in tasks.values()}, graph
