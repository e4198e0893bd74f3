"""The notebooks, and running them in a fresh kernel."""

import copy
import pathlib

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).parents[2] / 'colab'
NAMES = (
  'illustrated_reformer',
  'text_generation',
  'image_generation',
  'machine_translation',
)
# The first cell of a kernel that must not reach the network.
_NO_NETWORK = """
import socket
def _connect(self, address, _connect=socket.socket.connect):
  if self.family != socket.AF_UNIX and address[0] not in ('127.0.0.1', '::1'):
    raise OSError(f'no network here: {address}')
  return _connect(self, address)
socket.socket.connect = _connect
"""


def read(name):
  return nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def parameters_of(notebook):
  """The one cell that is tagged as that of the parameters."""
  (cell,) = [
    cell
    for cell in notebook.cells
    if 'parameters' in cell.metadata.get('tags', ())
  ]
  return cell


def execute(name, folder, parameters):
  """Runs a notebook from top to bottom, without network.

  Args:
    name: str.
    folder: the kernel's working directory.
    parameters: dict from names, each assigned in the tagged cell, to values.

  Returns:
    The notebook with its outputs.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell fails.
  """
  notebook = copy.deepcopy(read(name))
  tagged = parameters_of(notebook)
  for parameter, value in parameters.items():
    assert f'\n{parameter} = ' in f'\n{tagged.source}', parameter
    tagged.source += f'\n{parameter} = {value!r}'
  notebook.cells.insert(0, nbformat.v4.new_code_cell(_NO_NETWORK))
  client = nbclient.NotebookClient(
    notebook,
    timeout=600,
    kernel_name='python3',
    resources={'metadata': {'path': str(folder)}},
  )
  client.execute()
  return notebook


def pictures(notebook):
  """MIME types of all pictures that a notebook shows, in order."""
  return [
    kind
    for cell in code_cells(notebook)
    for output in cell.outputs
    for kind in output.get('data', {})
    if kind.startswith('image/')
  ]


def printed(notebook):
  """All that a notebook prints."""
  return ''.join(
    output.text
    for cell in code_cells(notebook)
    for output in cell.outputs
    if output.output_type == 'stream'
  )
