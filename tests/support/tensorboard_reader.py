"""Read a log folder with TensorBoard's own back end."""

from pathlib import Path

from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

EVERYTHING = provider.RunTagFilter()


class Reader:
    """The content of a log folder as TensorBoard's back end loads it."""

    def __init__(self, logdir: Path) -> None:
        multiplexer = plugin_event_multiplexer.EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(logdir))
        multiplexer.Reload()
        self._provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
        self._backend = backend_context.Context(base_plugin.TBContext(data_provider=self._provider))
        self._context = context.RequestContext()

    def runs(self) -> set[str]:
        return {run.run_name for run in self._provider.list_runs(self._context, experiment_id="")}

    def experiment(self) -> api_pb2.Experiment:
        request = api_pb2.GetExperimentRequest()
        return get_experiment.Handler(self._context, self._backend, "", request).run()

    def sessions(self) -> list[api_pb2.SessionGroup]:
        request = api_pb2.ListSessionGroupsRequest(
            allowed_statuses=api_pb2.Status.values(), start_index=0, slice_size=1000
        )
        response = list_session_groups.Handler(self._context, self._backend, "", request).run()
        return list(response.session_groups)

    def session(self, trial: str) -> api_pb2.SessionGroup:
        (group,) = (group for group in self.sessions() if group.name == trial)
        return group

    def row(self, trial: str) -> dict[str, object]:
        hparams = self.session(trial).hparams
        return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}

    def metrics(self, trial: str) -> dict[str, float]:
        return {metric.name.tag: metric.value for metric in self.session(trial).metric_values}

    def scalars(self, run: str) -> dict[str, list[tuple[int, float]]]:
        by_run = self._provider.read_scalars(
            self._context, experiment_id="", plugin_name="scalars", downsample=1000, run_tag_filter=None
        )
        return {
            tag: [(datum.step, datum.value) for datum in data] for tag, data in by_run.get(run, {}).items()
        }

    def histograms(self) -> dict[tuple[str, str], list[list[float]]]:
        by_run = self._tensors("histograms")
        return {key: data[-1].numpy.tolist() for key, data in by_run.items()}

    def images(self) -> dict[tuple[str, str], list[bytes]]:
        by_run = self._provider.read_blob_sequences(
            self._context, experiment_id="", plugin_name="images", downsample=10, run_tag_filter=EVERYTHING
        )
        return {
            (run, tag): [
                self._provider.read_blob(self._context, blob_key=ref.blob_key) for ref in data[-1].values
            ]
            for run, tags in by_run.items()
            for tag, data in tags.items()
        }

    def layout(self) -> layout_pb2.Layout:
        (data,) = self._tensors("custom_scalars").values()
        return layout_pb2.Layout.FromString(data[-1].numpy.item())

    def _tensors(self, plugin: str) -> dict[tuple[str, str], list]:
        by_run = self._provider.read_tensors(
            self._context, experiment_id="", plugin_name=plugin, downsample=1000, run_tag_filter=EVERYTHING
        )
        return {(run, tag): data for run, tags in by_run.items() for tag, data in tags.items()}

    def texts(self) -> dict[tuple[str, str], list[str]]:
        by_run = self._tensors("text")
        return {key: [datum.numpy.item().decode() for datum in data] for key, data in by_run.items()}
