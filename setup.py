"""Installs trax_reformer_ext and the trax-reformer command."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
# Where the project is published. The notebooks in colab/ hold it too, as on
# Colab they have nothing else (tests/colab says where); until it is known, they
# install from the checkout.
_URL = ''
_INIT = (_ROOT / 'trax_reformer_ext' / '__init__.py').read_text()

setuptools.setup(
  name='trax_reformer_ext',
  version=re.search(r"__version__ = '(.*)'", _INIT).group(1),
  description='The Reformer for Trax, on current JAX',
  long_description=(_ROOT / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  url=_URL,
  license='Apache-2.0',
  python_requires='>=3.11,<3.13',
  packages=setuptools.find_packages(include=['trax_reformer_ext*'])
  + [
    'trax_reformer_ext.gin_configs',
    'trax_reformer_ext.gin_configs.models',
    'trax_reformer_ext.gin_configs.tasks',
  ],
  # The configs stand beside the package in a checkout and inside it when
  # installed.
  package_dir={'trax_reformer_ext.gin_configs': 'gin_configs'},
  package_data={
    'trax_reformer_ext.gin_configs': ['*.gin'],
    'trax_reformer_ext.gin_configs.models': ['*.gin'],
    'trax_reformer_ext.gin_configs.tasks': ['*.gin'],
    'trax_reformer_ext.data.builders': ['*/*.md', '*/*.bib', '*/*.t[sx][vt]'],
  },
  install_requires=[
    'trax==1.4.1',
    'absl-py>=2.5.1',
    'filelock>=4.3.1',
    'jax>=0.10.2',
    'gin-config>=0.5.0',
    'tensorflow-datasets>=4.9.10',
    # Needed by tensorflow-datasets, which does not say so.
    'importlib_resources>=7.1.0',
    'matplotlib>=3.11.2',
    'numpy>=2.4.6',
    'orbax-checkpoint>=0.12.8',
    'pillow>=13.0.0',
    'sacrebleu>=2.6.0',
    'safetensors>=0.8.0',
    'sentencepiece>=0.2.3',
    # Needed by tf.summary; tensorflow does not ask for it.
    'tensorboard>=2.21.0',
    'tqdm>=4.70.1',
  ],
  extras_require={
    # What benchmarks/ compare with, in an environment of its own.
    'benchmarks': [
      'reformer-pytorch==1.4.4',
      'torch==2.13.0',
      'transformers==5.23.0',
    ],
    # JAX for accelerators, named as JAX names its extras. Without them it runs
    # on the CPU.
    'cuda12': ['jax[cuda12]>=0.10.2'],
    'cuda13': ['jax[cuda13]>=0.10.2'],
    # To read pytorch_model.bin, and to compare with.
    'huggingface': [
      'torch>=2.13.0',
      'transformers>=5.23.0',
    ],
    'tpu': ['jax[tpu]>=0.10.2'],
    'test': [
      # Needed by tfds.testing, which does not say so.
      'dill>=0.4.1',
      'hypothesis>=6.170.15',
      'ipykernel>=7.4.0',
      'nbclient>=0.11.0',
      'nbformat>=5.11.1',
      'pytest>=9.2.0',
      'pytest-xdist>=3.8.0',
    ],
  },
  entry_points={
    'console_scripts': ['trax-reformer = trax_reformer_ext.cli:main'],
  },
)
