"""ModelService: what the variants can do, and how many replicas each has."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.capabilities import Capabilities
from cluster.config import VariantConfig
from cluster.errors import NotFound
from cluster.gateway import messages
from cluster.gateway.handlers import Context
from cluster.loads import LoadMonitor
from protos.gemmacluster.v1.model_pb2 import (
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    ReplicaCounts,
)


class ModelServicer:
    """Answers ModelService. Method names are those of the proto."""

    def __init__(
        self,
        capabilities: Mapping[str, Capabilities],
        configs: Mapping[str, VariantConfig],
        loads: LoadMonitor,
    ) -> None:
        self._capabilities = capabilities
        self._configs = configs
        self._loads = loads

    async def ListModels(self, request: ListModelsRequest, context: Context) -> ListModelsResponse:
        """All variants, smallest first."""
        return ListModelsResponse(models=[self._model(name) for name in self._capabilities])

    async def GetModel(self, request: GetModelRequest, context: Context) -> GetModelResponse:
        """One variant."""
        if request.name not in self._capabilities:
            names = ", ".join(self._capabilities)
            message = f"no variant {request.name!r}; there are {names}"
            raise NotFound(message, resource_type="Model", resource_name=request.name)
        return GetModelResponse(model=self._model(request.name))

    def _model(self, name: str) -> Model:
        count, limits = self._loads.count(name), self._configs[name].replicas
        replicas = ReplicaCounts(running=count.running, target=count.target, min=limits.min, max=limits.max)
        return messages.model(self._capabilities[name], replicas)
