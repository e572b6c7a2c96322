#!/usr/bin/env python3
"""Write a very small Llama with random weights: tiny-model.py FOLDER.

What it says is noise, but the engine treats it as it treats every model: it tokenizes, batches, streams, and caches
prefixes. About 2 MB, nothing is downloaded. The same call gives the same weights.
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# The tokenizer learns its words from these lines; every other text is spelt out in bytes.
LINES = (
    "A platform team runs models on its own machines and buys answers from others.",
    "Requests wait in a bounded queue while the first replica of a cold pool starts.",
    "Money is counted in whole numbers, and a cap that is hard is never passed.",
    "Hello, who are you? Please count to ten and tell me about pools and routers.",
)
BEGIN, END, PAD = "<begin>", "<end>", "<pad>"
CHAT_TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a few words of its own."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        LINES,
        trainers.BpeTrainer(
            vocab_size=512,
            special_tokens=[BEGIN, END, PAD],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, pad_token=PAD)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(words: int) -> LlamaForCausalLM:
    """Two layers of 128 units: small enough to start and answer at once on a processor."""
    torch.manual_seed(32)
    shape = LlamaConfig(
        vocab_size=words,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return LlamaForCausalLM(shape).to(torch.bfloat16)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: tiny-model.py FOLDER")
    folder = sys.argv[1]
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    make_model(len(tokenizer)).save_pretrained(folder)


if __name__ == "__main__":
    main()
