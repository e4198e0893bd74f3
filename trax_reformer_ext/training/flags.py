"""The flags of Trax's trainer, offered through argparse."""

import argparse

from absl import flags
from trax import trainer, trainer_flags

from trax_reformer_ext.training import hosts


def add_trax_flags(parser, described):
  """Adds every flag of trax/trainer_flags.py that is not described already.

  Booleans are taken as absl takes them: --flag, --flag=true, --noflag.

  Args:
    parser: argparse parser.
    described: names of flags that the parser has.
  """
  group = parser.add_argument_group("flags of Trax's trainer")
  for flag in _trax_flags():
    if flag.name in described:
      continue
    text = flag.help.replace('%', '%%')
    text = f'{text} (default: {flag.default!r})'
    if flag.boolean:
      group.add_argument(
        f'--{flag.name}',
        nargs='?',
        const=True,
        type=_boolean,
        metavar='BOOL',
        help=text,
      )
      group.add_argument(
        f'--no{flag.name}',
        dest=flag.name,
        action='store_false',
        default=None,
        help=argparse.SUPPRESS,
      )
    else:
      kind = int if flag.flag_type() == 'int' else str
      metavar = 'N' if kind is int else 'TEXT'
      group.add_argument(
        f'--{flag.name}', type=kind, metavar=metavar, help=text
      )


def apply_trax_flags(arguments, patience):
  """Gives the parsed flags to Trax and does what its trainer does with them.

  Args:
    arguments: argparse namespace; None stands for a flag's default.
    patience: float, seconds to wait for the other hosts of a cluster.

  Raises:
    ReformerError: a host that does not come.
  """
  values = flags.FLAGS
  if not values.is_parsed():
    values.mark_as_parsed()
  for flag in _trax_flags():
    value = getattr(arguments, flag.name, None)
    setattr(values, flag.name, flag.default if value is None else value)
  if values.gpu_cluster_chief_ip:
    hosts.connect(
      values.gpu_cluster_chief_ip,
      values.gpu_cluster_port,
      values.gpu_cluster_n_hosts,
      values.gpu_cluster_host_id,
      patience,
    )
  trainer._tf_setup_from_flags()
  trainer._jax_and_tf_configure_for_devices()
  if values.disable_jit:
    trainer.fastmath.disable_jit()


def _trax_flags():
  return flags.FLAGS.get_flags_for_module(trainer_flags.__name__)


def _boolean(text):
  values = dict.fromkeys(('true', 't', '1', 'yes', 'y'), True)
  values.update(dict.fromkeys(('false', 'f', '0', 'no', 'n'), False))
  if text.lower() not in values:
    raise argparse.ArgumentTypeError(f'{text!r} is not true or false')
  return values[text.lower()]
