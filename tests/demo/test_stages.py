"""The stages of a demo against a service that does not do what was asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from rich.progress import Progress

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.client import connect
from recollect.services.demo import stages
from recollect.v1 import store_pb2, store_pb2_grpc, teacher_pb2, teacher_pb2_grpc


class Store(store_pb2_grpc.StoreServiceServicer):
    def RegisterSource(
        self, request: store_pb2.RegisterSourceRequest, context: grpc.ServicerContext
    ) -> store_pb2.RegisterSourceResponse:
        return store_pb2.RegisterSourceResponse()


class Teacher(teacher_pb2_grpc.TeacherServiceServicer):
    """A teacher that writes 7 examples and hangs up, whether it is done or not."""

    def __init__(self, *, done: bool) -> None:
        self.done = done

    def Rehearse(
        self, request: teacher_pb2.RehearseRequest, context: grpc.ServicerContext
    ) -> Iterator[teacher_pb2.RehearseResponse]:
        yield teacher_pb2.RehearseResponse(num_written=9, num_kept=7, done=self.done)


def rehearse(*, done: bool) -> teacher_pb2.RehearseResponse:
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    store_pb2_grpc.add_StoreServiceServicer_to_server(Store(), server)  # type: ignore[abstract]
    teacher = Teacher(done=done)  # type: ignore[abstract]
    teacher_pb2_grpc.add_TeacherServiceServicer_to_server(teacher, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with connect(f"127.0.0.1:{port}") as client:
            return stages.rehearse(client, Progress(disable=True))
    finally:
        server.stop(None).wait()


def test_a_rehearsal_that_breaks_off_is_no_rehearsal() -> None:
    with pytest.raises(RecollectError) as caught:
        rehearse(done=False)
    assert caught.value.reason is Reason.INTERNAL
    assert caught.value.where == stages.SYNTHETIC


def test_a_rehearsal_that_kept_fewer_than_asked_is_said() -> None:
    assert str(stages.NUM_SYNTHETIC) in stages.shortfall(rehearse(done=True))
    full = teacher_pb2.RehearseResponse(num_kept=stages.NUM_SYNTHETIC, done=True)
    assert stages.shortfall(full) == ""
