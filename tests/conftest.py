import signal

import pytest
import torch

# Pictures in tests are tiny: a second thread costs more than it brings, above all on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def listening():
    """Tests send Ctrl-C, to which a suite in the background of a shell would be deaf, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
