#!/usr/bin/env python3
"""Write a very small Llama with random weights, and a LoRA adapter to it: tiny-model.py FOLDER.

What it says is noise, but the engine treats it as it treats every model: it tokenizes, batches, streams, and caches
prefixes. About 2 MB, nothing is downloaded. The same call gives the same weights. The adapter is in FOLDER/adapter.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
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


def write_adapter(folder: pathlib.Path, model: LlamaForCausalLM) -> None:
    """A random adapter of rank 4 to the queries and the values of every layer."""
    rank, targets = 4, ("q_proj", "v_proj")
    weights = {}
    for name, module in model.named_modules():
        if name.endswith(targets):
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, module.in_features) / 8
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(module.out_features, rank) / 8
    folder.mkdir(exist_ok=True)
    save_file(weights, str(folder / "adapter_model.safetensors"))
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": list(targets), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(about))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: tiny-model.py FOLDER")
    folder = sys.argv[1]
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    model = make_model(len(tokenizer))
    model.save_pretrained(folder)
    write_adapter(pathlib.Path(folder, "adapter"), model)


if __name__ == "__main__":
    main()
