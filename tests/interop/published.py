"""The configurations of the weights that Google has published.

As in the config.json of google/reformer-enwik8 and of
google/reformer-crime-and-punishment, by the copies of their values in
PaddleNLP's paddlenlp/transformers/reformer/configuration.py.
"""

_OF_BOTH = {
  'architectures': ['ReformerModelWithLMHead'],
  'axial_norm_std': 1.0,
  'axial_pos_embds': True,
  'chunk_size_feed_forward': 0,
  'chunk_size_lm_head': 0,
  'eos_token_id': 2,
  'hash_seed': None,
  'hidden_act': 'relu',
  'initializer_range': 0.02,
  'is_decoder': True,
  'layer_norm_eps': 1e-12,
  'local_num_chunks_after': 0,
  'local_num_chunks_before': 1,
  'lsh_num_chunks_after': 0,
  'lsh_num_chunks_before': 1,
  'model_type': 'reformer',
  'pad_token_id': 0,
}
ENWIK8 = _OF_BOTH | {
  'attention_head_size': 128,
  'attn_layers': ['local', 'local', 'lsh', 'local'] * 3,
  'axial_pos_embds_dim': [256, 768],
  'axial_pos_shape': [128, 512],
  'feed_forward_size': 4096,
  'hidden_dropout_prob': 0.2,
  'hidden_size': 1024,
  'local_attention_probs_dropout_prob': 0.2,
  'local_attn_chunk_length': 128,
  'lsh_attention_probs_dropout_prob': 0.1,
  'lsh_attn_chunk_length': 256,
  'max_position_embeddings': 65536,
  'num_attention_heads': 8,
  'num_buckets': 512,
  'num_hashes': 4,
  'num_hidden_layers': 12,
  'vocab_size': 258,
}
CRIME_AND_PUNISHMENT = _OF_BOTH | {
  'attention_head_size': 64,
  'attn_layers': ['local', 'lsh'] * 3,
  'axial_pos_embds_dim': [64, 192],
  'axial_pos_shape': [512, 1024],
  'feed_forward_size': 512,
  'hidden_dropout_prob': 0.05,
  'hidden_size': 256,
  'local_attention_probs_dropout_prob': 0.05,
  'local_attn_chunk_length': 64,
  'lsh_attention_probs_dropout_prob': 0.0,
  'lsh_attn_chunk_length': 64,
  'max_position_embeddings': 524288,
  'num_attention_heads': 2,
  'num_buckets': [64, 128],
  'num_hashes': 1,
  'num_hidden_layers': 6,
  'vocab_size': 320,
}
PUBLISHED = {
  'reformer-enwik8': ENWIK8,
  'reformer-crime-and-punishment': CRIME_AND_PUNISHMENT,
}
