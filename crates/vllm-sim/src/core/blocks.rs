//! The key-value cache as blocks of tokens: counted references, and full blocks that are found again by the hash of all
//! tokens up to their end. A block that nobody uses keeps its content until it is needed; the one unused for longest goes
//! first.

use std::collections::HashMap;

use crate::text::mix;

/// The number of a block.
pub(crate) type Block = u32;

/// No block.
const NONE: Block = Block::MAX;

/// The hash of a block from the hash of the block before it (0 for the first) and from what stands in it.
pub(crate) fn chain(before: u64, content: u64) -> u64 {
    mix(before ^ content.rotate_left(29)).max(1)
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// How many sequences use it.
    users: u32,
    /// What it holds; 0 when it cannot be found again.
    hash: u64,
    /// Neighbours among the unused blocks, in the order in which they were given back.
    before: Block,
    after: Block,
}

/// All blocks of a cache.
#[derive(Debug)]
pub(crate) struct Pool {
    total: u32,
    /// Blocks that were in use at least once; the others cost nothing yet.
    nodes: Vec<Node>,
    found_by: HashMap<u64, Block>,
    oldest: Block,
    newest: Block,
    unused: u32,
}

impl Pool {
    /// A pool of `total` empty blocks.
    pub(crate) fn new(total: u32) -> Self {
        Self { total, nodes: Vec::new(), found_by: HashMap::new(), oldest: NONE, newest: NONE, unused: 0 }
    }

    /// Blocks that can be taken.
    pub(crate) fn free(&self) -> u32 {
        let fresh = self.total - u32::try_from(self.nodes.len()).unwrap_or(self.total);
        fresh + self.unused
    }

    /// Blocks that sequences use.
    pub(crate) fn used(&self) -> u32 {
        self.total - self.free()
    }

    /// The block that holds what `hash` stands for.
    pub(crate) fn find(&self, hash: u64) -> Option<Block> {
        self.found_by.get(&hash).copied()
    }

    /// Whether the block is in no sequence's use, so that using it takes one of the free blocks.
    pub(crate) fn is_unused(&self, block: Block) -> bool {
        self.node(block).is_some_and(|node| node.users == 0)
    }

    /// Uses a block that was found.
    pub(crate) fn share(&mut self, block: Block) {
        if self.is_unused(block) {
            self.unlink(block);
        }
        if let Some(node) = self.node_mut(block) {
            node.users += 1;
        }
    }

    /// Takes a block for new content; `None` when all are in use.
    pub(crate) fn take(&mut self) -> Option<Block> {
        let fresh = Block::try_from(self.nodes.len()).ok()?;
        if fresh < self.total {
            self.nodes.push(Node { users: 1, hash: 0, before: NONE, after: NONE });
            return Some(fresh);
        }
        let block = Some(self.oldest).filter(|block| *block != NONE)?;
        self.unlink(block);
        let node = self.node_mut(block)?;
        node.users = 1;
        let hash = std::mem::take(&mut node.hash);
        if self.found_by.get(&hash) == Some(&block) {
            self.found_by.remove(&hash);
        }
        Some(block)
    }

    /// Says what a full block holds. The first block with the same content stays the one that is found.
    pub(crate) fn fill(&mut self, block: Block, hash: u64) {
        if self.found_by.contains_key(&hash) {
            return;
        }
        if let Some(node) = self.node_mut(block) {
            node.hash = hash;
            self.found_by.insert(hash, block);
        }
    }

    /// Gives a block back.
    pub(crate) fn give_back(&mut self, block: Block) {
        let newest = self.newest;
        let Some(node) = self.node_mut(block) else { return };
        node.users -= 1;
        if node.users > 0 {
            return;
        }
        (node.before, node.after) = (newest, NONE);
        match self.node_mut(newest) {
            Some(before) => before.after = block,
            None => self.oldest = block,
        }
        self.newest = block;
        self.unused += 1;
    }

    /// Forgets what unused blocks hold; `false`, and nothing is done, while a block is in use.
    pub(crate) fn forget(&mut self) -> bool {
        if self.used() > 0 {
            return false;
        }
        *self = Self::new(self.total);
        true
    }

    fn unlink(&mut self, block: Block) {
        let Some(&Node { before, after, .. }) = self.node(block) else { return };
        match self.node_mut(before) {
            Some(node) => node.after = after,
            None => self.oldest = after,
        }
        match self.node_mut(after) {
            Some(node) => node.before = before,
            None => self.newest = before,
        }
        self.unused -= 1;
    }

    fn node(&self, block: Block) -> Option<&Node> {
        self.nodes.get(usize::try_from(block).ok()?)
    }

    fn node_mut(&mut self, block: Block) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(block).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_unused_for_longest_goes_first() {
        let mut pool = Pool::new(3);
        let blocks: Vec<Block> = (0..3).map(|_| pool.take().unwrap()).collect();
        assert_eq!((pool.take(), pool.used()), (None, 3));
        for (block, hash) in blocks.iter().zip([11, 12, 13]) {
            pool.fill(*block, hash);
        }
        for at in [1, 0, 2] {
            pool.give_back(blocks[at]);
        }
        assert_eq!((pool.free(), pool.find(12)), (3, Some(blocks[1])));
        pool.share(blocks[1]);
        assert_eq!((pool.take(), pool.find(11)), (Some(blocks[0]), None), "12 is in use, 11 came back before 13");
        assert_eq!(pool.find(13), Some(blocks[2]));
        assert!(!pool.forget());
        pool.give_back(blocks[0]);
        pool.give_back(blocks[1]);
        assert!(pool.forget());
        assert_eq!((pool.find(12), pool.find(13), pool.free()), (None, None, 3));
    }

    #[test]
    fn a_shared_block_is_free_when_its_last_user_leaves() {
        let mut pool = Pool::new(1);
        let block = pool.take().unwrap();
        pool.fill(block, 5);
        pool.share(block);
        pool.give_back(block);
        assert_eq!((pool.free(), pool.is_unused(block)), (0, false));
        pool.give_back(block);
        assert_eq!((pool.free(), pool.is_unused(block), pool.find(5)), (1, true, Some(block)));
    }

    #[test]
    fn of_equal_blocks_the_first_is_found() {
        let mut pool = Pool::new(2);
        let (one, two) = (pool.take().unwrap(), pool.take().unwrap());
        pool.fill(one, 5);
        pool.fill(two, 5);
        pool.give_back(two);
        assert_eq!(pool.take(), Some(two));
        assert_eq!(pool.find(5), Some(one), "what went was not the one that is found");
    }
}
